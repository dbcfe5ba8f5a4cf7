"""What is wrong with a packed file, in words."""

from app.errors import Invalid, TooLarge, UnsupportedFormat


class NotPacked(UnsupportedFormat):
    code = "not_packed"
    title = "This is not a packed file of a version that is known here"


class PackedFileDamaged(Invalid):
    code = "packed_file_damaged"
    title = "The packed file is damaged"


class PackedFileTooLarge(TooLarge):
    code = "packed_file_too_large"
    title = "The packed file stands for more than is allowed"
