"""What is HTML on the page: status lines, findings, answers, stories, lives, the lesson. The templates stand beside."""
