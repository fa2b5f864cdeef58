/** The small picture of a series, asked for when it comes near the screen. */

import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { SeriesItem, StudyItem } from '../../api';
import { modalityName, text } from '../dicom';
import { useApi } from '../context';
import { words } from '../i18n';
import { Icon } from '../icons';

const waiting = new Map<Element, () => void>();
let observer: IntersectionObserver | undefined;

/** Call once when the element is within a screen of being seen; the answer forgets it. */
function whenNear(element: Element, call: () => void): () => void {
  observer ??= new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        const then = waiting.get(entry.target);
        waiting.delete(entry.target);
        observer?.unobserve(entry.target);
        then?.();
      }
    },
    { rootMargin: '400px' },
  );
  waiting.set(element, call);
  observer.observe(element);
  return () => {
    waiting.delete(element);
    observer?.unobserve(element);
  };
}

export function Thumb({ study, series }: { study: StudyItem; series: SeriesItem | undefined }): JSX.Element {
  const api = useApi();
  const box = useRef<HTMLDivElement>(null);
  const [near, setNear] = useState(false);
  const [url, setUrl] = useState<string>();
  const layer = series?.layers.find((each) => each.layer === 'thumbnail') ?? study.layers.find((each) => each.layer === 'thumbnail');
  const received = layer?.receivedBytes ?? 0;
  const uid = series?.uid;

  useEffect(() => (box.current ? whenNear(box.current, () => setNear(true)) : undefined), []);
  useEffect(() => {
    if (!near || !uid) return undefined;
    let gone = false;
    let made: string | undefined;
    void api.thumbnail(study.ref, uid).then(
      (blob) => {
        if (gone || !blob) return;
        made = URL.createObjectURL(blob);
        setUrl(made);
      },
      () => undefined,
    );
    return () => {
      gone = true;
      if (made) URL.revokeObjectURL(made);
    };
  }, [near, study.ref, uid, received]);

  const modality = text(series?.attributes, 'Modality');
  return (
    <div class="thumb" ref={box}>
      {url ? (
        <img src={url} alt="" decoding="async" draggable={false} />
      ) : (
        <span class="thumb-none" aria-hidden="true">
          <Icon name={series && series.frames + series.videos > 0 ? 'image' : 'report'} />
          {modality && <span>{modality.length <= 3 ? modality : modalityName(modality, words.value)}</span>}
        </span>
      )}
    </div>
  );
}
