"""The command line of Xinhuo and the processes it starts and watches."""
