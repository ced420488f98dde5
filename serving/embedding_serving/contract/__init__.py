"""What operator and data plane agree on, and nothing else.

The operator renders these settings into pods and reads these reports back; the pods parse the same classes.
The one place that knows the name of an environment variable, a port or a path of the admin surface.
"""
