"""What is HTML on the page: status lines, answers, stories."""
