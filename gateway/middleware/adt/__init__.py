"""HL7 v2 ADT over MLLP: who was admitted, transferred, discharged, as the hospital's systems tell it."""
