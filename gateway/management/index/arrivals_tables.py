"""Tables of what arrived. Column names are DICOM keywords where DICOM has the thing."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.management.index.engine import metadata

# SQLite counts rowids up only in columns declared INTEGER; PostgreSQL wants room.
_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_Uid = sa.String(64)
_Digest = sa.String(64)

studies = sa.Table(
    "studies",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("StudyInstanceUID", _Uid, nullable=False, unique=True),
    sa.Column("PatientID", sa.Text, nullable=False),
    sa.Column("IssuerOfPatientID", sa.Text, nullable=False),
    sa.Column("PatientName", sa.Text, nullable=False),
    sa.Column("attributes", sa.LargeBinary, nullable=False),
    sa.Column("settled", sa.Boolean, nullable=False, default=False),
    sa.Column("first_arrival_at", sa.Float, nullable=False),
    sa.Column("last_arrival_at", sa.Float, nullable=False),
    sa.Column("NumberOfStudyRelatedInstances", sa.Integer, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False, index=True),
    sa.Index("ix_studies_patient", "PatientID", "IssuerOfPatientID"),
    sa.Index("ix_studies_settled", "settled", "last_arrival_at"),
)

series = sa.Table(
    "series",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("study_id", _Id, sa.ForeignKey("studies.id", ondelete="CASCADE"), nullable=False),
    sa.Column("SeriesInstanceUID", _Uid, nullable=False),
    sa.Column("Modality", sa.String(64), nullable=False),
    sa.Column("attributes", sa.LargeBinary, nullable=False),
    # Not unique alone: senders exist that use one series UID in two studies.
    sa.UniqueConstraint("study_id", "SeriesInstanceUID"),
)

instances = sa.Table(
    "instances",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("study_id", _Id, sa.ForeignKey("studies.id", ondelete="CASCADE"), nullable=False),
    sa.Column("series_id", _Id, sa.ForeignKey("series.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("SOPInstanceUID", _Uid, nullable=False, unique=True),
    sa.Column("SOPClassUID", _Uid, nullable=False),
    sa.Column("TransferSyntaxUID", _Uid, nullable=False),
    sa.Column("InstanceNumber", sa.BigInteger),
    sa.Column("NumberOfFrames", sa.Integer, nullable=False),
    sa.Column("has_pixels", sa.Boolean, nullable=False),
    sa.Column("digest", _Digest, nullable=False, index=True),
    sa.Column("data_digest", _Digest, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("path", sa.String(128), nullable=False),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(256), nullable=False),
    sa.Column("arrived_at", sa.Float, nullable=False),
    sa.Index("ix_instances_study_state", "study_id", "state"),
)

conflicts = sa.Table(
    "conflicts",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("StudyInstanceUID", _Uid, nullable=False),
    sa.Column("SOPInstanceUID", _Uid, nullable=False),
    sa.Column("digest", _Digest, nullable=False),
    sa.Column("path", sa.String(128), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("seen_at", sa.Float, nullable=False),
    sa.UniqueConstraint("SOPInstanceUID", "digest"),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("digest", _Digest, nullable=False, unique=True),
    sa.Column("path", sa.String(128), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.String(32), nullable=False),
    sa.Column("detail", sa.String(256), nullable=False),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("refused_at", sa.Float, nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
)
