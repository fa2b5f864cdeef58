"""From DICOM pixels to pictures that a phone can show."""
