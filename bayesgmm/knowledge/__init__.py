"""Knowledge that priors of the effects are made of: earlier studies, beliefs about odds ratios, allele frequencies."""
