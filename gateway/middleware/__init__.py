"""Data Middleware Layer: takes DICOM in and keeps it."""
