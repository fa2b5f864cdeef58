/**
 * What a device asks beyond what is announced to it, and what is answered: search, retrieval, sharing, uploads. Every
 * request names on whose behalf it is made; studies are named by StudyInstanceUID, since they need not be announced.
 */

import {
  Code,
  CodePattern,
  DateRange,
  Digest,
  Identifier,
  Key,
  KindName,
  Label,
  LayerName,
  LINE,
  Pages,
  Pattern,
  Ranges,
  Ref,
  Text,
  Time,
  Uid,
  Uint,
} from './fields';
import * as limits from './limits';
import { bool, bytes, list, oneOf, row, text, uint, variant } from './schema';

const onBehalf = { kind: KindName, recipient: Ref };
const Page = uint(0, limits.MAX_SEARCH_PAGES - 1);
const Labels = list(Label, 0, 16);

export const ASKED = {
  /** Studies that match all keys, in the gateway's own store and in each PACS. Empty matches all. */
  search: variant('search', {
    ...onBehalf,
    PatientName: Pattern,
    PatientID: Pattern,
    AccessionNumber: Pattern,
    StudyDate: DateRange,
    ModalitiesInStudy: list(Code, 0, 8),
    BodyPartExamined: CodePattern,
    StudyDescription: Pattern,
    page: Page,
  }),
  /** Bring a study from where it lies, and announce it to the recipient. */
  retrieve: variant('retrieve', { ...onBehalf, study: Uid }),
  /** With whom the recipient may share; `name` is a pattern of their names or identifiers. */
  directory: variant('directory', { ...onBehalf, name: Pattern, page: Page }),
  /** Announce a study to another recipient, too, until `until`; 0 is until it is taken back. */
  share: variant('share', { ...onBehalf, study: Uid, to_kind: KindName, to: Ref, until: Time }),
  /** Take back what this recipient shared. */
  unshare: variant('unshare', { ...onBehalf, study: Uid, to_kind: KindName, to: Ref }),
  /** Let the study's patient have it. */
  release: variant('release', { ...onBehalf, study: Uid }),
  /** Attend a patient in an emergency, for a time that the site sets. */
  break_glass: variant('break_glass', {
    ...onBehalf,
    PatientID: Identifier,
    IssuerOfPatientID: Pattern,
    reason: text(1, 256, LINE),
  }),
  /** Who received and opened a study. */
  receipts: variant('receipts', { ...onBehalf, study: Uid }),
  /** A file for a patient, sealed as an object of layer `original`; asked until the answer is `stored`. */
  upload: variant('upload', {
    ...onBehalf,
    PatientID: Identifier,
    IssuerOfPatientID: Pattern,
    study: text(0, 64, /^(?:[0-9]+(?:\.[0-9]+)*)?$/),
    media: oneOf('image/jpeg', 'image/png', 'image/tiff', 'application/pdf', 'application/dicom'),
    description: Pattern,
    taken: Time,
    object: Ref,
    key: Key,
    size: uint(1, limits.MAX_UPLOAD_BYTES),
    manifest: Digest,
  }),
};

/** Where a study lies: in the gateway's own store or not, and in which PACS. */
export const Place = row({ study: Uid, own: bool, pacs: Labels });
/** Somebody, or some ward. */
export const Person = row({ kind: KindName, recipient: Ref, identifier: Text, name: Text });
/** A study reached somebody in a layer, or was opened there. */
export const Read = row({
  kind: KindName,
  identifier: Text,
  name: Text,
  layer: LayerName,
  event: oneOf('received', 'opened'),
  at: Time,
});

export const TOLD = {
  /** A page of studies; `attributes` is deflated `{"studies": [{…}, …]}`, one for each of `studies`. */
  found: variant('found', {
    studies: list(Place, 0, limits.MAX_HITS),
    attributes: bytes(0, limits.MAX_MESSAGE_BYTES),
    more: bool,
    silent: Labels,
  }),
  /** So many instances are here, of so many (0: not known yet). Not the last answer to its request. */
  progress: variant('progress', { here: Uint, of: Uint }),
  people: variant('people', { people: list(Person, 0, limits.MAX_HITS), more: bool }),
  granted: variant('granted', { until: Time }),
  account: variant('account', { read: list(Read, 0, limits.MAX_READ) }),
  /** What the gateway lacks of an upload: publish it, then ask again. */
  wanted: variant('wanted', { pages: Pages, ranges: Ranges }),
  stored: variant('stored', { StudyInstanceUID: Uid, SOPInstanceUID: Uid }),
};
