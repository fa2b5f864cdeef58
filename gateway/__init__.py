"""The edge gateway: takes studies in by DICOM, renders and seals them, serves them over MQTT."""
