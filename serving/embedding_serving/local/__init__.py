"""Role `local`: the whole data plane in one process, for laptops and tests of applications."""
