/** What a list says of where a study's bytes are: one thing at a time. Pure, so that it can be tried alone. */

import type { StudyItem } from '../../api';

/**
 * `share` of what the device wants is here, and the rest is on its way. Of a study that still grows what is here is not
 * all of it: it is `growing`, never `whole`.
 */
export type Whereabouts = { kind: 'fetching'; share: number } | { kind: 'whole' | 'growing' | 'evicted' | 'on-demand' };

export function whereabouts(study: StudyItem): Whereabouts {
  const wanted = study.layers.filter((layer) => layer.wanted);
  if (wanted.some((layer) => !layer.complete)) {
    const total = wanted.reduce((sum, layer) => sum + layer.totalBytes, 0);
    const received = wanted.reduce((sum, layer) => sum + layer.receivedBytes, 0);
    return { kind: 'fetching', share: total > 0 ? received / total : 0 };
  }
  const isHere = study.layers.every((layer) => (layer.layer !== 'display' && layer.layer !== 'video') || layer.complete);
  if (isHere) return { kind: study.settled ? 'whole' : 'growing' };
  return { kind: study.evicted ? 'evicted' : 'on-demand' };
}
