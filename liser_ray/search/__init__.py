"""The search for λ_sd, λ_vd and other settings of the student, on validation speakers alone."""
