/** For developing screens: studies in memory, pictures drawn on a canvas. Never part of the production build. */

import { signal } from '@preact/signals';
import { ApiError } from './api';
import type {
  Api,
  ApiEvent,
  Connection,
  DataSet,
  FrameInfo,
  FramePicture,
  Identity,
  LayerProgress,
  OpenSeries,
  Phase,
  PinState,
  RecipientState,
  ReportInfo,
  SeriesItem,
  SeriesState,
  Settings,
  StorageState,
  StudyItem,
} from './api';

const DAY = 86_400_000;
const now = Date.now();

function da(vr: string, ...Value: unknown[]): { vr: string; Value: unknown[] } {
  return { vr, Value };
}

function layer(name: LayerProgress['layer'], total: number, received: number, frames: number): LayerProgress {
  return { layer: name, receivedBytes: received, totalBytes: total, frames, complete: received === total, wanted: true };
}

interface Plan {
  name: string;
  hangul: string;
  modality: string;
  description: string;
  series: { description: string; frames: number }[];
  report?: boolean;
}

const PLANS: Plan[] = [
  { name: 'Hong^Gildong', hangul: '홍^길동', modality: 'CT', description: 'Chest CT with contrast', report: true, series: [{ description: 'Axial 5 mm', frames: 60 }, { description: 'Coronal', frames: 40 }, { description: 'Lung', frames: 120 }] },
  { name: 'Kim^Young-hee', hangul: '김^영희', modality: 'MR', description: 'Brain MRI', series: [{ description: 'T1', frames: 24 }, { description: 'FLAIR', frames: 24 }] },
  { name: 'Doe^Jane', hangul: '', modality: 'US', description: 'Abdomen', series: [{ description: 'Cine', frames: 45 }] },
  { name: 'Park^Min-su', hangul: '박^민수', modality: 'CR', description: 'Chest PA/LAT', report: true, series: [{ description: 'PA', frames: 1 }, { description: 'LAT', frames: 1 }] },
];

function makeStudy(index: number): StudyItem {
  const plan = PLANS[index % PLANS.length] as Plan;
  const date = new Date(now - index * DAY * 0.6).toISOString().slice(0, 10).replaceAll('-', '');
  const name: Record<string, string> = { Alphabetic: plan.name };
  if (plan.hangul) name['Ideographic'] = plan.hangul;
  const series: SeriesItem[] = plan.series.map((one, at) => {
    const total = one.frames * 60_000;
    return {
      uid: `1.2.3.${index}.${at}`,
      attributes: {
        '00080060': da('CS', plan.modality),
        '0008103E': da('LO', one.description),
        '0020000E': da('UI', `1.2.3.${index}.${at}`),
        '00200011': da('IS', at + 1),
      },
      frames: one.frames,
      videos: 0,
      layers: [layer('display', total, index % 3 === 1 ? Math.floor(total / 2) : total, one.frames)],
    };
  });
  if (plan.report) {
    series.push({
      uid: `1.2.3.${index}.99`,
      attributes: { '00080060': da('CS', 'SR'), '0008103E': da('LO', 'Report'), '0020000E': da('UI', `1.2.3.${index}.99`) },
      frames: 0,
      videos: 0,
      layers: [layer('report', 5000, 5000, 1)],
    });
  }
  const attributes: DataSet = {
    '00100010': da('PN', name),
    '00100020': da('LO', `P${1000 + (index % PLANS.length)}`),
    '00100030': da('DA', '19580412'),
    '00100040': da('CS', index % 2 ? 'F' : 'M'),
    '00080020': da('DA', date),
    '00080030': da('TM', '101500'),
    '00080050': da('SH', `A${index}`),
    '00081030': da('LO', plan.description),
    '00080061': da('CS', plan.modality),
    '0020000D': da('UI', `1.2.3.${index}`),
  };
  const ref = `fake${String(index).padStart(22, '0')}`;
  return {
    ref,
    refs: [ref],
    uid: `1.2.3.${index}`,
    recipients: [{ kind: 'doctor', recipient: 'd1' }],
    attributes,
    series,
    issued: now - index * DAY * 0.6,
    sequence: 1,
    settled: index !== 1,
    current: true,
    isNew: index < 3,
    isChanged: index === 4,
    pinned: index === 5,
    hasReport: plan.report === true,
    critical: index === 0,
    layers: series.flatMap((one) => one.layers),
    storedBytes: 3_000_000,
    evicted: index > 60,
  };
}

async function draw(study: StudyItem, series: SeriesItem, index: number, size: number): Promise<Blob> {
  const canvas = new OffscreenCanvas(size, size);
  const context = canvas.getContext('2d');
  if (!context) throw new ApiError('internal');
  context.fillStyle = '#000';
  context.fillRect(0, 0, size, size);
  const part = series.frames > 1 ? index / (series.frames - 1) : 0.5;
  const radius = size * (0.2 + 0.22 * Math.sin(Math.PI * part));
  const gradient = context.createRadialGradient(size / 2, size / 2, 4, size / 2, size / 2, radius);
  gradient.addColorStop(0, '#222');
  gradient.addColorStop(0.8, '#888');
  gradient.addColorStop(1, '#eee');
  context.fillStyle = gradient;
  context.beginPath();
  context.ellipse(size / 2, size / 2, radius * 1.3, radius, 0, 0, Math.PI * 2);
  context.fill();
  context.fillStyle = '#fff';
  context.font = `${size / 16}px sans-serif`;
  context.fillText(`${study.uid} ${index + 1}/${series.frames}`, size * 0.05, size * 0.95);
  return canvas.convertToBlob({ type: 'image/jpeg', quality: 0.8 });
}

function frameInfo(series: SeriesItem, index: number): FrameInfo {
  return {
    index,
    instance: `${series.uid}.${index}`,
    frame: 0,
    multiFrame: false,
    media: 'image/jpeg',
    bytes: 60_000,
    lossy: true,
    ratio: 12.4,
    attributes: {
      '00200013': da('IS', index + 1),
      '00200032': da('DS', -250, -250, index * 5),
      '00200037': da('DS', 1, 0, 0, 0, 1, 0),
      '00280010': da('US', 512),
      '00280011': da('US', 512),
      '00280030': da('DS', 0.9765625, 0.9765625),
      '00181063': da('DS', 40),
    },
  };
}

const REPORT = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Report</title><body><h1>Chest CT</h1>
<p>Finding: see <a href="#instance=1.2.3.0.0.12&frame=1">image 13</a>.</p><p>No pleural effusion.</p></body></html>`;

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export function createFakeApi(): Api {
  const listeners = new Set<(event: ApiEvent) => void>();
  const emit = (event: ApiEvent): void => listeners.forEach((listener) => listener(event));
  const enrolled = new URLSearchParams(location.search).get('fake') !== 'new';
  const phase = signal<Phase>(enrolled ? { name: 'open' } : { name: 'not-enrolled' });
  const identity = signal<Identity | null>({ site: 'demo', device: 'abcd2345abcd2345abcd2345ab', deviceName: 'Phone', fingerprint: '1f2e 3d4c 5b6a 7980', enrolledAt: now - DAY });
  const connection = signal<Connection>({ state: 'online', gatewayOnline: true, synced: true, error: null });
  const recipients = signal<RecipientState[]>([{ kind: 'doctor', recipient: 'd1', label: 'Dr. Lee', current: true, asOf: now, revoked: false }]);
  const studies = signal<StudyItem[]>(Array.from({ length: 100 }, (_, index) => makeStudy(index)));
  const storage = signal<StorageState>({ usedBytes: 310e6, limitBytes: 2e9, quotaBytes: 8e9, persisted: true, pinnedBytes: 3e6 });
  const settings = signal<Settings>({ display: 'auto', storeLimitBytes: 2e9, autoLockMinutes: 5, ui: {} });
  const pin = signal<PinState>({ set: false, required: true, minLength: 6 });
  let code = '';

  const find = (ref: string): StudyItem => {
    const study = studies.value.find((one) => one.refs.includes(ref));
    if (!study) throw new ApiError('gone');
    return study;
  };
  const change = (ref: string, part: Partial<StudyItem>): void => {
    studies.value = studies.value.map((one) => (one.refs.includes(ref) ? { ...one, ...part } : one));
  };

  function openSeries(ref: string, uid: string): OpenSeries {
    const study = find(ref);
    const series = study.series.find((one) => one.uid === uid);
    if (!series) throw new ApiError('gone');
    const frames = Array.from({ length: series.frames }, (_, index) => frameInfo(series, index));
    const state = signal<SeriesState>({
      study: ref,
      series: uid,
      frames,
      here: frames.map(() => false),
      progress: frames.map(() => 0),
      error: null,
    });
    let order: number[] = frames.map((_, index) => index);
    const timer = setInterval(() => {
      const next = order.find((index) => !state.value.here[index]) ?? state.value.here.indexOf(false);
      if (next < 0) return clearInterval(timer);
      const here = state.value.here.with(next, true);
      state.value = { ...state.value, here, progress: here.map(Number) };
    }, 60);
    return {
      state,
      async frame(index, options): Promise<FramePicture> {
        while (!state.value.here[index]) {
          options?.signal?.throwIfAborted();
          await wait(30);
        }
        return { info: frames[index] as FrameInfo, blob: await draw(study, series, index, 512) };
      },
      prioritise(wanted) {
        order = wanted;
      },
      close() {
        clearInterval(timer);
      },
    };
  }

  return {
    phase,
    identity,
    connection,
    recipients,
    studies,
    storage,
    settings,
    pin,
    leaseExpires: signal<number | null>(now + 2 * DAY),
    updateReady: signal(false),
    version: 'fake',
    async enrol(link) {
      if (!link.includes('enrol=')) throw new ApiError('link-invalid');
      for (const step of ['keys', 'connecting', 'waiting', 'storing'] as const) {
        phase.value = { name: 'enrolling', step };
        await wait(300);
      }
      phase.value = { name: 'pin-needed' };
    },
    async forget() {
      phase.value = { name: 'not-enrolled' };
      emit({ name: 'wiped' });
    },
    async unlock(given) {
      if (given !== code) {
        const left = phase.value.name === 'locked' ? phase.value.attemptsLeft - 1 : 4;
        phase.value = { name: 'locked', attemptsLeft: left };
        throw new ApiError(left > 0 ? 'pin-wrong' : 'pin-locked');
      }
      phase.value = { name: 'open' };
    },
    async lock() {
      phase.value = { name: 'locked', attemptsLeft: 10 };
      emit({ name: 'locked' });
    },
    async setPin(given) {
      if (given.length < 6) throw new ApiError('pin-weak');
      code = given;
      pin.value = { ...pin.value, set: true };
      phase.value = { name: 'open' };
    },
    async removePin() {
      pin.value = { ...pin.value, set: false };
    },
    touch() {},
    async markOpened(ref) {
      change(ref, { isNew: false, isChanged: false });
    },
    openSeries,
    async thumbnail(ref, uid) {
      const study = find(ref);
      const series = study.series.find((one) => one.uid === uid);
      return series && series.frames > 0 ? draw(study, series, Math.floor(series.frames / 2), 128) : null;
    },
    async reports(ref): Promise<ReportInfo[]> {
      const study = find(ref);
      if (!study.hasReport) return [];
      return [{ id: 'r1', instance: `${study.uid}.99.1`, series: `${study.uid}.99`, media: ['text/html', 'text/plain'], attributes: { '0040A493': da('CS', 'VERIFIED'), '0040A491': da('CS', 'COMPLETE') }, bytes: 5000 }];
    },
    async report(_study, _id, media) {
      return new Blob([REPORT], { type: media });
    },
    async videos() {
      return [];
    },
    async video() {
      throw new ApiError('gone');
    },
    async locate(ref, instance) {
      const found = find(ref).series.find((one) => instance.startsWith(one.uid));
      return found ? { series: found.uid, isDocument: found.frames === 0, isHere: true } : null;
    },
    async download() {},
    async setPinned(ref, pinned) {
      change(ref, { pinned });
    },
    async evict(ref) {
      change(ref, { evicted: true, storedBytes: 0 });
    },
    async clearStore() {
      storage.value = { ...storage.value, usedBytes: storage.value.pinnedBytes };
    },
    async saveSettings(part) {
      settings.value = { ...settings.value, ...part };
    },
    async refresh() {},
    async applyUpdate() {
      location.reload();
    },
    on(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
