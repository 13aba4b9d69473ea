from small_students import speech_folder, student_folder  # noqa: F401 (fixtures)
