"""What a study answers: the statistics, and the rules by which its claims are judged."""
