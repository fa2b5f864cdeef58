/** How far a report may still change, from its flags (PS3.3 section C.17.2): in doubt it may. And what replaced it. */

import type { DataSet, ReportInfo } from '../../api';
import { dateOf, items, text } from '../dicom';
import type { Words } from '../i18n/en';

export type Status = 'preliminary' | 'final' | 'amended';

export function statusOf(data: DataSet): Status | undefined {
  const completion = text(data, 'CompletionFlag').toUpperCase();
  const verification = text(data, 'VerificationFlag').toUpperCase();
  const preliminary = text(data, 'PreliminaryFlag').toUpperCase();
  if (!completion && !verification && !preliminary) return undefined;
  if (preliminary === 'PRELIMINARY' || completion === 'PARTIAL') return 'preliminary';
  if (preliminary !== 'FINAL' && verification !== 'VERIFIED') return 'preliminary';
  return items(data, 'PredecessorDocumentsSequence').length > 0 ? 'amended' : 'final';
}

/** Instances that another report of the study names as its predecessors: they were replaced. */
export function replacedBy(reports: readonly ReportInfo[]): Set<string> {
  const named = reports.flatMap((report) =>
    items(report.attributes, 'PredecessorDocumentsSequence')
      .map((item) => text(item, 'ReferencedSOPInstanceUID'))
      .filter((uid) => uid !== report.instance),
  );
  return new Set(named);
}

export function titleOf(data: DataSet, words: Words): string {
  const [concept] = items(data, 'ConceptNameCodeSequence');
  return text(data, 'DocumentTitle') || text(concept, 'CodeMeaning') || words.report.title;
}

export function writtenAt(data: DataSet): Date | undefined {
  return dateOf(text(data, 'ContentDate'), text(data, 'ContentTime'));
}

function age(report: ReportInfo): number {
  return -(writtenAt(report.attributes)?.getTime() ?? 0);
}

/** Newest first: an amended report stands before what it replaces. */
export function newestFirst(reports: readonly ReportInfo[]): ReportInfo[] {
  return reports.toSorted((a, b) => age(a) - age(b));
}
