"""What `mpigd plan` is made of: measurements on this machine, a model of the network, a forecast, a batch script."""
