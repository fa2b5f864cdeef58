/** Which receipts of what was received are owed. No IO. */

import type { Group } from './groups';
import type { ReceiptRecord, Store } from './store';

const LAYERS: readonly string[] = ['thumbnail', 'display', 'report', 'video'];

/** For each settled part of a study, and each of its layers that is all here: unless it is owed or was sent already. */
export function receiptsOwed(store: Store, group: Group, complete: ReadonlySet<string>, at: number): ReceiptRecord[] {
  const due: ReceiptRecord[] = [];
  for (const held of group.parts.filter((one) => one.announcement.settled)) {
    const { recipient, study, announcement } = held;
    for (const layer of new Set(announcement.objects.map((entry) => entry.layer))) {
      const objects = group.objects.filter((object) => object.held === held && object.entry.layer === layer);
      const isHere = objects.every((object) => complete.has(object.id));
      if (!LAYERS.includes(layer) || !isHere || store.receipts.has(`${recipient}/${study}/${layer}/received`)) continue;
      due.push({ recipient, study, sequence: announcement.sequence, layer, event: 'received', at, state: 'queued' });
    }
  }
  return due;
}
