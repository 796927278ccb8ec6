"""Why a model said what it said: each place of a picture, and what it added to the decision."""
