"""Model folders made into packages, and packages judged. All that loads a model; runs in a job's child process."""
