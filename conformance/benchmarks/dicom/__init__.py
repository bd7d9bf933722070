"""The DICOM node beside Orthanc: the same data to both sides, in alternating rounds."""
