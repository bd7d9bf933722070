"""The DICOM node beside Orthanc: the same senders, the same images, in turns."""
