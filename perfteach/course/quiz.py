QUESTIONS: dict = {}
