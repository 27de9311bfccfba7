"""For all tests: the programs they start are the system's."""

from deploy.trial import prefer_programs_of_the_system

prefer_programs_of_the_system()
