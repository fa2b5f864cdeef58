"""The contract that both ends share. No IO and no clock; import the submodules by name."""
