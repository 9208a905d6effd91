"""The inner loops of the learner."""
