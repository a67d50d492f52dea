"""The program: settings, wiring, command line and the roles that it serves."""
