"""Loads models from files and checks them; damaged and unsupported ones are refused with an error that says why."""
