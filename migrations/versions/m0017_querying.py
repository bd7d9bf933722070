"""Searching studies by parts of names, by sound, and page by page.

Names get two columns that Postgres keeps by itself, made of `name_alphabetic` and `name_other` as they are:
their trigrams, and how their words sound. Both are arrays under GIN, so no extension is needed.
The order of the pages is an index of its own: newest first, studies without a date last.

Revision ID: m0017
Revises: m0015
"""

from alembic import op

revision = "m0017"
down_revision = "m0015"
branch_labels = None
depends_on = None

UPGRADE = r"""
CREATE FUNCTION dicom_words(name text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN translate(name, ' ,.-''=', '^^^^^^');
COMMENT ON FUNCTION dicom_words IS 'A folded name with ^ between all its words';

CREATE FUNCTION dicom_grams(name text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    SELECT coalesce(array_agg(DISTINCT substr(whole, at, 3)), '{}')
    FROM (SELECT '^' || dicom_words(name) || '^') AS padded (whole),
        generate_series(1, length(whole) - 2) AS at
    WHERE name <> ''
);
COMMENT ON FUNCTION dicom_grams IS 'The trigrams of a folded name, with ^ for its beginning, its end and between words';

CREATE FUNCTION dicom_sounds(name text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    SELECT coalesce(array_agg(DISTINCT translate(left(word, 1), 'cqzxveiouy', 'kkssfaaaaa') || rpad(left(
        replace(substr(regexp_replace(
            translate(left(word, 1), 'bfpvcgjkqsxzdtlmnraeiouyhw', '11112222222233455600000000')
                || translate(substr(word, 2), 'bfpvcgjkqsxzdtlmnraeiouyhw', '111122222222334556000000'),
            '([1-6])\1+', '\1', 'g'), 2), '0', ''), 3), 3, '0')), '{}')
    FROM (SELECT replace(part, 'ph', 'f') FROM unnest(string_to_array(dicom_words(name), '^')) AS part)
        AS spoken (word)
    WHERE word ~ '^[a-z]+$'
);
COMMENT ON FUNCTION dicom_sounds IS 'How the Latin words of a folded name sound: a class for the first letter, three for the consonants';

CREATE FUNCTION dicom_fold(value text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE WHEN octet_length(value) = length(value) THEN lower(value COLLATE "C") ELSE
    replace(translate(lower(regexp_replace(normalize(value, NFKD),
        '[\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u3099\u309a]',
        '', 'g') COLLATE "C"),
        'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩςАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЂЄЅІЈЉЊЋЏØÆŒŁĐÞĦŊ',
        'αβγδεζηθικλμνξοπρστυφχψωσабвгдежзийклмнопрстуфхцчшщъыьэюяђєѕіјљњћџøæœłđþħŋ'), 'ß', 'ss') END;
COMMENT ON FUNCTION dicom_fold IS 'A text without case and accents, as index/matching.fold makes it of what people write';

CREATE FUNCTION dicom_moment(value text, zone text) RETURNS timestamptz LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
AS $$
DECLARE
    part text[] := regexp_match(value, '^(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\.\d{1,6})?([+-]\d{4})?$');
    moment timestamp;
BEGIN
    IF part IS NULL THEN
        RETURN NULL;
    END IF;
    moment := make_timestamp(part[1]::int, coalesce(part[2], '01')::int, coalesce(part[3], '01')::int,
        coalesce(part[4], '00')::int, coalesce(part[5], '00')::int,
        least(coalesce(part[6], '00')::int, 59) + coalesce('0' || part[7], '0')::double precision);
    IF part[8] IS NULL THEN
        RETURN moment AT TIME ZONE zone;
    END IF;
    RETURN (moment - (left(part[8], 1) || substr(part[8], 2, 2) || ':' || substr(part[8], 4, 2))::interval)
        AT TIME ZONE 'UTC';
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dicom_moment IS 'A DT value as a moment, what it leaves open as early as can be; NULL where it is none';

ALTER TABLE dicom_study
    ADD COLUMN name_grams text[] GENERATED ALWAYS AS (dicom_grams(name_alphabetic || name_other)) STORED,
    ADD COLUMN name_sounds text[] GENERATED ALWAYS AS (dicom_sounds(name_alphabetic || name_other)) STORED;
COMMENT ON COLUMN dicom_study.name_grams IS 'Trigrams of all groups of the name';
COMMENT ON COLUMN dicom_study.name_sounds IS 'How its words sound';
CREATE INDEX dicom_study_name_grams ON dicom_study USING gin (name_grams);
CREATE INDEX dicom_study_name_sounds ON dicom_study USING gin (name_sounds);
CREATE INDEX dicom_study_birth_date ON dicom_study (birth_date);
DROP INDEX dicom_study_date;
CREATE INDEX dicom_study_order ON dicom_study (
    coalesce(study_date, '0001-01-01'::date) DESC, coalesce(study_time, '00:00'::time) DESC, pk DESC
);
"""

DOWNGRADE = """
DROP INDEX dicom_study_order, dicom_study_birth_date, dicom_study_name_sounds, dicom_study_name_grams;
CREATE INDEX dicom_study_date ON dicom_study (study_date, study_time, pk);
ALTER TABLE dicom_study DROP COLUMN name_grams, DROP COLUMN name_sounds;
DROP FUNCTION dicom_moment, dicom_fold, dicom_sounds, dicom_grams, dicom_words;
"""


def upgrade() -> None:
    """Add the columns, the functions that make them, and the indexes."""
    op.get_bind().exec_driver_sql(UPGRADE)  # as it stands: text() would take some of its colons for names


def downgrade() -> None:
    """Drop what was added; no value of a data set was in it."""
    op.get_bind().exec_driver_sql(DOWNGRADE)
