"""Files to samples.

``index`` reads ``dataset.json``, which ``sources`` make and ``splits`` divide; ``check`` looks for mistakes in it.
``images`` reads and writes all file types (``nifti``, ``pictures``), ``geometry`` says where voxels lie.
``dataset`` and ``transforms`` make batches. ``files`` writes all or nothing; ``formats`` knows file types.
"""
