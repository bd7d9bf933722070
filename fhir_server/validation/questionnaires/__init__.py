"""Questionnaires, and QuestionnaireResponses against them (R4/questionnaireresponse.html)."""

from fhir_server.validation.questionnaires.check import check

__all__ = ["check"]
