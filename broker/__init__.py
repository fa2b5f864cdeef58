"""The embedded broker: amqtt, hardened. It routes ciphertext and cannot decrypt."""
