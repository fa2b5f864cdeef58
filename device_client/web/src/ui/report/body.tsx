/** What a report says: its HTML, its text, or its PDF. */

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { ReportInfo, StudyItem } from '../../api';
import { useApi } from '../context';
import { words } from '../i18n';
import { Icon } from '../icons';
import { Failure, Spinner } from '../parts/parts';
import { shownTheme, textSize } from '../look';
import { cleaned, cleanedText, type Frame } from './clean';
import { titleOf } from './status';
import styles from '../../styles/report.css?url';

type Loaded = { media: string; blob: Blob; text: string } | { error: unknown } | undefined;

/** HTML before PDF before text, whatever there is. */
function best(report: ReportInfo): ReportInfo['media'][number] | undefined {
  return (['text/html', 'application/pdf', 'text/plain'] as const).find((media) => report.media.includes(media));
}

function Pdf({ blob, name }: { blob: Blob; name: string }): JSX.Element | null {
  const w = words.value.report;
  const [url, setUrl] = useState<string>();
  useEffect(() => {
    const made = URL.createObjectURL(new Blob([blob], { type: 'application/pdf' }));
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [blob]);
  if (!url) return null;
  const inPlace = navigator.pdfViewerEnabled && matchMedia('(pointer: fine)').matches;
  return (
    <div class="report-pdf">
      <div class="report-pdf-buttons">
        <a class="button primary" href={url} target="_blank" rel="noopener">
          <Icon name="report" />
          {w.openPdf}
        </a>
        <a class="button" href={url} download={`${name}.pdf`}>
          <Icon name="download" />
          {w.savePdf}
        </a>
      </div>
      {inPlace ? <iframe class="report-frame" title={w.body} src={url} /> : <p class="hint">{w.pdfHint}</p>}
    </div>
  );
}

/** Keys that are pressed in a frame are not heard outside of it. */
function hearEscape(frame: HTMLIFrameElement, onEscape: () => void): void {
  frame.contentDocument?.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') onEscape();
  });
}

export function Body(props: { study: StudyItem; report: ReportInfo; onClose: () => void }): JSX.Element {
  const { study, report, onClose } = props;
  const api = useApi();
  const w = words.value;
  const [loaded, setLoaded] = useState<Loaded>();
  const [tries, setTries] = useState(0);
  const media = best(report);
  useEffect(() => {
    if (!media) return undefined;
    let gone = false;
    setLoaded(undefined);
    const load = async (): Promise<void> => {
      try {
        const blob = await api.report(study.ref, report.id, media);
        const text = media === 'application/pdf' ? '' : await blob.text();
        if (!gone) setLoaded({ media, blob, text });
      } catch (error) {
        if (!gone) setLoaded({ error });
      }
    };
    void load();
    return () => {
      gone = true;
    };
  }, [study.ref, report.id, media, tries]);

  if (!loaded) return <Spinner label={w.report.loading} />;
  if ('error' in loaded) return <Failure error={loaded.error} retry={() => setTries(tries + 1)} />;
  if (loaded.media === 'application/pdf') return <Pdf blob={loaded.blob} name={w.report.title} />;
  const frame: Frame = {
    lang: w.locale,
    theme: shownTheme.value,
    textSize: textSize.value,
    styles: new URL(styles, location.origin).href,
    page: `${location.origin}${location.pathname}${location.search}`,
  };
  const html = loaded.media === 'text/html' ? cleaned(loaded.text, frame) : cleanedText(loaded.text, frame);
  // No scripts, ever. The same origin lets the style sheet in; a link to an image leads the application itself there.
  return (
    <iframe
      class="report-frame"
      title={`${w.report.body}: ${titleOf(report.attributes, w)}`}
      sandbox="allow-same-origin allow-top-navigation-by-user-activation"
      srcdoc={html}
      onLoad={(event) => hearEscape(event.currentTarget, onClose)}
    />
  );
}
