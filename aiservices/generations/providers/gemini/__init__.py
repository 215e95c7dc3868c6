"""Google, with a key of the pool: images and Veo's videos."""
