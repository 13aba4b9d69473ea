"""Training of speech teachers: a pretrained speech model, LoRA on its attention, a new head, one teacher per fold."""
