"""What can go wrong in the broker: one small tree. No text holds a payload, a password or an identity.

BrokerFailure
├── ConfigInvalid   the configuration file cannot be used; the text names the key
├── AccessInvalid   the access file cannot be used; the text names the place in it
├── PacketRefused   the client broke the protocol, a bound or its rights: its connection is closed
└── CannotListen    an address cannot be listened on
"""


class BrokerFailure(Exception):
    """Base of all failures of the broker."""


class ConfigInvalid(BrokerFailure):
    """The configuration file cannot be used; the text names the key."""


class AccessInvalid(BrokerFailure):
    """The access file cannot be used; the text names the place in it."""


class PacketRefused(BrokerFailure):
    """The client broke the protocol, a bound or its rights: its connection is closed."""


class CannotListen(BrokerFailure):
    """An address cannot be listened on."""
