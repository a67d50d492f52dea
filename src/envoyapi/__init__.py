"""The part of Envoy's API that Tollkeeper reads or writes; generated from proto/ by `make proto`."""
