/** The study's reports: beside the pictures where there is room, else over them. */

import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { ReportInfo, StudyItem } from '../../api';
import { useApi } from '../context';
import { date, time } from '../format';
import { words } from '../i18n';
import { Icon } from '../icons';
import { Failure, IconButton, Spinner } from '../parts/parts';
import { closeReport, go, type StudyRoute } from '../route';
import { Body } from './body';
import { newestFirst, replacedBy, statusOf, titleOf, writtenAt } from './status';

type Answer = { reports: ReportInfo[] } | { error: unknown } | undefined;

function StatusMark({ report, replaced }: { report: ReportInfo; replaced: ReadonlySet<string> }): JSX.Element | null {
  const w = words.value.report;
  // Whatever it was when it was written: nobody should act on it any more.
  const status = replaced.has(report.instance) ? 'replaced' : statusOf(report.attributes);
  return status ? <span class={`mark ${status}`}>{w[status]}</span> : null;
}

function facts(report: ReportInfo): string {
  const written = writtenAt(report.attributes);
  return written ? `${date(written, words.value)} ${time(written, words.value)}` : '';
}

function Choices(props: { reports: ReportInfo[]; chosen: number; onChoose: (index: number) => void }): JSX.Element {
  const w = words.value;
  const replaced = replacedBy(props.reports);
  return (
    <nav class="report-list" aria-label={w.report.list}>
      {props.reports.map((report, index) => (
        <button
          key={report.id}
          type="button"
          aria-pressed={index === props.chosen}
          class="report-choice"
          onClick={() => props.onChoose(index)}
        >
          <span>{titleOf(report.attributes, w)}</span>
          <StatusMark report={report} replaced={replaced} />
          <span class="report-date">{facts(report)}</span>
        </button>
      ))}
    </nav>
  );
}

export function ReportPanel(props: { study: StudyItem; chosen: number; route: StudyRoute }): JSX.Element {
  const { study, route } = props;
  const api = useApi();
  const w = words.value;
  const [answer, setAnswer] = useState<Answer>();
  const [tries, setTries] = useState(0);
  const heading = useRef<HTMLHeadingElement>(null);
  const panel = useRef<HTMLElement>(null);
  const received = study.layers.reduce((sum, each) => sum + (each.layer === 'report' ? each.receivedBytes : 0), 0);
  useEffect(() => {
    let gone = false;
    api.reports(study.ref).then(
      (reports) => gone || setAnswer({ reports: newestFirst(reports) }),
      (error: unknown) => gone || setAnswer({ error }),
    );
    return () => {
      gone = true;
    };
  }, [study.ref, study.sequence, received, tries]);
  useEffect(() => heading.current?.focus(), []);
  useLayoutEffect(
    () => () => {
      // Closed by whoever was in it: back to the button that opened it, which is still there.
      if (panel.current?.contains(document.activeElement)) document.querySelector<HTMLElement>('.report-button')?.focus();
    },
    [],
  );

  const close = (): void => closeReport(route);
  const reports = answer && 'reports' in answer ? answer.reports : undefined;
  const report = reports?.[Math.min(props.chosen, reports.length - 1)];
  return (
    <aside
      ref={panel}
      class="report-panel"
      aria-label={w.report.title}
      onKeyDown={(event) => {
        if (event.key !== 'Escape') return;
        event.stopPropagation();
        close();
      }}
    >
      <header class="report-head">
        <div class="report-titles">
          <h2 ref={heading} tabIndex={-1}>
            {report ? titleOf(report.attributes, w) : w.report.title}
          </h2>
          {report && (
            <p>
              <StatusMark report={report} replaced={replacedBy(reports ?? [])} /> {facts(report)}
            </p>
          )}
        </div>
        <IconButton icon="close" label={w.close} onClick={close} />
      </header>
      {reports && reports.length > 1 && (
        <Choices
          reports={reports}
          chosen={props.chosen}
          onChoose={(index) => go({ ...route, report: index }, { replace: true })}
        />
      )}
      {!answer && <Spinner label={w.report.loading} />}
      {answer && 'error' in answer && <Failure error={answer.error} retry={() => setTries(tries + 1)} />}
      {reports && !report && (
        <div class="empty">
          <Icon name="report" />
          <h3>{w.report.none}</h3>
          <p>{w.report.noneText}</p>
        </div>
      )}
      {report && <Body key={report.id} study={study} report={report} onClose={close} />}
    </aside>
  );
}
