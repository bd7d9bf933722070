"""What the 31 source attributes of the stroke model say; their names stand in models/attributes."""

from __future__ import annotations

from typing import Any

from cds_hooks.models.attributes import KEYS, NOT_ASSESSED


def stroke_early_aspirin(evaluation: dict[str, Any], effect: dict[str, Any], state: str) -> dict[str, str]:
    """Return the 31 attributes of the stroke model, with the figures of its own evaluation."""
    model = evaluation["lightgbm"]
    groups = evaluation["subgroups"]

    def figures(*names: str) -> str:
        parts = (
            f"{name}: AUC {groups[name]['auc']:.3f}, observed/expected"
            f" {groups[name]['observed_over_expected']:.2f}"
            for name in names
        )
        return "; ".join(parts) + "."

    low, high = effect["ci"]
    texts = (
        "The Xinglin project; contact through the project's issue tracker.",
        "None declared; developed within the open-source project.",
        "Probability (0 to 1) of being dead or dependent six months after an acute stroke, and from it the"
        f" average absolute benefit of early aspirin at a constant odds ratio of {effect['odds_ratio']}"
        f" (95 % CI {low} to {high}).",
        "Prediction, shown as a card with text; never an order, never an alarm.",
        "To show, beside a patient with suspected acute ischaemic stroke, the expected benefit and harm of"
        " starting aspirin 300 mg within 48 hours, with the evidence for it."
        + (
            " This release is a demonstration and answers for test data only."
            if state == "demonstration"
            else ""
        ),
        "Adults of 16 to 99 years with acute stroke, onset within 48 hours, haemorrhage excluded by CT.",
        "Physicians and nurses of stroke units and emergency departments who may prescribe.",
        "Informs a decision that the clinician makes; the basis of the statement is on the card and can be"
        " reviewed independently of it.",
        "Not for time-critical alarms. Not after thrombolysis or thrombectomy, under anticoagulation, with"
        " haemorrhage or without a coded CT result, with aspirin allergy, beyond 48 hours, in children, or"
        " for"
        " choosing who does not get aspirin: the benefit is an average.",
        "The trial ran 1991–1996, before thrombolysis, thrombectomy and stroke units were common; outcomes"
        " today are"
        " better, so the risk shown is probably too high. Calibration differs between countries"
        f" ({figures('site: United Kingdom', 'site: 33 other countries')}) and a local recalibration is"
        " needed before"
        " clinical use. Individual effects are not estimated: no heterogeneity was found.",
        "Included: the 19,285 of 19,435 patients of the International Stroke Trial whose state at six"
        " months is known."
        " The trial took patients with suspected acute ischaemic stroke within 48 hours of onset, no"
        " evidence of"
        " haemorrhage, no clear indication for or against heparin or aspirin. Excluded: 150 without outcome.",
        "Age and sex are inputs. Race, ethnicity, language, sexual orientation, gender identity and social"
        " determinants are not in the data and are not inputs. Health status: consciousness, deficits,"
        " blood pressure,"
        " atrial fibrillation.",
        "466 hospitals in 36 countries; 46 % women, mean age 72 years, 32 % from the United Kingdom. Race"
        " and ethnicity"
        " were not recorded, so representativeness in that respect is unknown.",
        "Randomised patients of ordinary hospitals, close to those seen in stroke wards; treatment then"
        " differs from"
        " treatment now (see 10).",
        "No correction by group; the same model and threshold for all. Performance and calibration are"
        " reported by sex,"
        " age band, syndrome and site with every training.",
        "Whole hospitals are held out, so a site cannot predict itself; inputs that only say where a"
        " patient was treated"
        " are not used; missing values are kept as missing.",
        "None outside the trial. Within it every figure is for hospitals that the model had not seen, and"
        " calibration is"
        " reported for the United Kingdom, Italy, Switzerland and the other countries apart.",
        "No external party has validated this model.",
        "Not applicable: there is no external validation data set.",
        "Not applicable: there is no external validation; see 21 for the internal one.",
        f"Ten folds of whole hospitals: AUC {model['auc']:.3f} (95 % CI {model['auc_ci'][0]:.3f} to"
        f" {model['auc_ci'][1]:.3f}), Brier score {model['brier']:.4f}, calibration slope"
        f" {model['calibration_slope']:.2f}, calibration in the large"
        f" {model['calibration_in_the_large']:.3f}.",
        figures("women", "men", "under 65", "65–74", "75–84", "85 and over"),
        NOT_ASSESSED,
        NOT_ASSESSED,
        "International Stroke Trial, Lancet 1997;349:1569–81; Chinese Acute Stroke Trial, Lancet"
        " 1997;349:1641–49;"
        " combined analysis of 40,000 patients, Stroke 2000;31:1240–49; Cochrane review CD000029. The"
        " effect of showing"
        " this card on outcomes has not been studied.",
        "With each training, by the figures of this card; every answer is recorded with inputs and model"
        " hash, so that"
        " matured outcomes can be compared.",
        NOT_ASSESSED,
        "With each training, by the subgroup figures of this card; records keep what a report by group"
        " needs.",
        NOT_ASSESSED,
        "The trial is closed: a new version follows a change of features or method. Releases are immutable"
        " and numbered.",
        "On report of a fault the service is switched off at once; a corrected release gets a new number,"
        " and cards say"
        " which one they come from.",
    )
    return dict(zip(KEYS, texts, strict=True))
