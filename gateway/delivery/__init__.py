"""Delivery over MQTT: announcements, segments, requests, presence."""
