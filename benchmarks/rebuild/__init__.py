"""What a rebuild costs those who write and search meanwhile: the shipped decision table over real pods, without a cluster."""
