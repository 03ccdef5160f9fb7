"""What ``xinhuo doctor`` looks at: this machine, the databases, the broker; nothing is changed anywhere."""
