"""Bytes to audio and faces: reading, face track, clips, voice activity, child-process isolation."""
