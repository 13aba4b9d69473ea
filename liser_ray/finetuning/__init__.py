"""Training of speech teachers: a pretrained model with LoRA or left as it is, and a new head, one teacher per fold."""
