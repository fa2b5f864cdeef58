/** Thumbnails and reports: parts that are read whole. */

import { ApiError, type ReportInfo } from '../api';
import { sleep } from './clock';
import type { StudyObject } from './groups';
import type { Household } from './household';
import type { Picture } from './reader';

const WAIT_S = 20;
const LOOK_S = 0.2;
const DOCUMENTS = ['text/html', 'text/plain', 'application/pdf'] as const;
type DocumentMedia = (typeof DOCUMENTS)[number];

function isDocument(media: string): media is DocumentMedia {
  return (DOCUMENTS as readonly string[]).includes(media);
}

/** The small picture of a series; null while it is not here. */
export async function thumbnail(household: Household, study: string, series: string): Promise<Blob | null> {
  const group = household.find(study);
  for (const object of group.objects.filter(({ entry, series: uids }) => entry.layer === 'thumbnail' && uids.includes(series))) {
    const { contents } = await household.cache.look(object);
    const picture = contents?.pictures.find((one) => one.series === series);
    if (!picture) continue;
    try {
      return new Blob([await household.cache.read(object, picture)], { type: picture.part.media });
    } catch (error) {
      if (!(error instanceof ApiError && error.code === 'missing')) throw error;
    }
  }
  return null;
}

/** An object's pictures, fetched if need be; ApiError missing if they do not come. */
async function awaited(household: Household, object: StudyObject): Promise<Picture[]> {
  for (let waited = 0; waited < WAIT_S; waited += LOOK_S) {
    const { contents } = await household.cache.look(object);
    if (contents && household.fetcher.complete.has(object.id)) return contents.pictures;
    await sleep(LOOK_S);
  }
  throw new ApiError('missing');
}

function reportObjects(household: Household, study: string): StudyObject[] {
  return household.find(study).objects.filter(({ entry }) => entry.layer === 'report');
}

/** The reports of a study, one for each instance. */
export async function reports(household: Household, study: string): Promise<ReportInfo[]> {
  const found = new Map<string, ReportInfo>();
  for (const object of reportObjects(household, study)) {
    for (const { instance, series, part, attributes } of await awaited(household, object)) {
      if (!isDocument(part.media)) continue;
      const id = `${object.id}/${instance}`;
      const known = found.get(id) ?? { id, instance, series, media: [], attributes, bytes: 0 };
      found.set(id, { ...known, media: [...known.media, part.media], bytes: known.bytes + part.length });
    }
  }
  return [...found.values()];
}

/** One form of a report, verified and decrypted. */
export async function report(household: Household, study: string, id: string, media: string): Promise<Blob> {
  const [objectId, instance] = id.split('/');
  const object = reportObjects(household, study).find((one) => one.id === objectId);
  if (!object || !isDocument(media)) throw new ApiError('gone');
  const picture = (await awaited(household, object)).find((one) => one.instance === instance && one.part.media === media);
  if (!picture) throw new ApiError('gone');
  return new Blob([await household.cache.read(object, picture)], { type: media });
}
