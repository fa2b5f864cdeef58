"""Other ways in than DIMSE: files, folders, media and ZIPs, and pictures and documents that become DICOM."""
