/** The types of the messages' fields, with their bounds. */

import * as limits from './limits';
import { bytes, type Infer, list, oneOf, pair, text, uint } from './schema';

export const Uint = uint();
export const Sequence = uint(1);
export const Time = uint();
export const Ref = bytes(16);
export const Key = bytes(32);
export const Digest = bytes(32);
export const Point = bytes(65);
export const Label = text(1, 128);
export const Epoch = uint(1, 2 ** 32 - 1);
export const LAYERS = ['thumbnail', 'display', 'diagnostic', 'report', 'video', 'original'] as const;
export const LayerName = oneOf(...LAYERS);
export const KindName = oneOf('patient', 'doctor', 'ward');
/** A DICOM UID (PS3.5 section 9.1); zeros that lead a component are let pass, because scanners write them. */
export const Uid = text(1, 64, /^[0-9]+(?:\.[0-9]+)*$/);
export type Layer = Infer<typeof LayerName>;

export const LINE = /^\P{Cc}*$/u;
/** One line without control characters; empty where there is nothing to say. */
export const Text = text(0, 256, LINE);
/** An identifier as DICOM has it (PS3.5 section 6.2, LO). */
export const Identifier = text(1, 64, LINE);
/** A key of a search: `*` stands for any characters, `?` for one (PS3.4 section C.2.2.2.4); empty matches all. */
export const Pattern = text(0, 64, LINE);
/** A code string (PS3.5 section 6.2, CS). */
export const Code = text(1, 16, /^[A-Z0-9 _]{1,16}$/);
export const CodePattern = text(0, 16, /^[A-Z0-9 _*?]{0,16}$/);
/** A date or a range of dates (PS3.4 section C.2.2.2.5.1); empty matches all. */
export const DateRange = text(0, 17, /^(?:[0-9]{8}|[0-9]{8}-|-[0-9]{8}|[0-9]{8}-[0-9]{8})?$/);

const SegmentIndex = uint(0, limits.MAX_SEGMENTS - 1);
export const Pages = list(uint(0, limits.MAX_PAGES - 1), 0, 16);
export const Ranges = list(pair(SegmentIndex, SegmentIndex), 0, limits.MAX_RANGES);
