/** The first page: patients and their studies, newest first. */

import { signal } from '@preact/signals';
import type { JSX } from 'preact';
import { useLayoutEffect } from 'preact/hooks';
import type { StudyItem } from '../../api';
import { minute, useApi, useTitle } from '../context';
import { date, moment } from '../format';
import { dateOf, names, sexAndAge, text } from '../dicom';
import { words } from '../i18n';
import { Icon } from '../icons';
import { Banners, ConnectionMark } from '../parts/banners';
import { Guessed, IconButton, UpdateNotice } from '../parts/parts';
import { go } from '../route';
import { byPatient, type Filter, filtered, isFiltered, modalitiesOf, NO_FILTER } from './filter';
import { Filters } from './filters';
import { Row } from './row';
import { Suggestions } from './suggestions';

/** Kept while one looks at a study, so that the list is found again as it was left. */
const filter = signal<Filter>(NO_FILTER);
let scrolled = 0;

function PatientHeading({ study, id }: { study: StudyItem; id: string }): JSX.Element {
  const w = words.value;
  const { attributes } = study;
  const [name = w.list.unnamed, ...others] = names(attributes, w);
  const born = dateOf(text(attributes, 'PatientBirthDate'));
  const facts = [
    text(attributes, 'PatientID'),
    sexAndAge(attributes, w, new Date(minute.value)),
    born && w.list.born(date(born, w)),
  ];
  return (
    <header class="patient">
      <h2 id={id}>
        {name}
        <Guessed attributes={attributes} />
        {others.length > 0 && <span class="patient-also"> {others.join(' ')}</span>}
      </h2>
      <p>{facts.filter(Boolean).join(' · ')}</p>
    </header>
  );
}

function Empty(): JSX.Element {
  const w = words.value;
  const online = useApi().connection.value.state === 'online';
  return (
    <div class="empty">
      <Icon name="image" />
      <h2>{w.list.empty}</h2>
      <p>{online ? w.list.emptyText : w.list.emptyOffline}</p>
    </div>
  );
}

function NothingFound(): JSX.Element {
  const w = words.value;
  return (
    <div class="empty">
      <Icon name="search" />
      <h2>{w.list.nothingFound}</h2>
      <p>{w.list.nothingFoundText}</p>
      <button type="button" class="button" onClick={() => (filter.value = NO_FILTER)}>
        {w.list.clearFilters}
      </button>
    </div>
  );
}

export function List(): JSX.Element {
  const api = useApi();
  const w = words.value;
  const studies = api.studies.value;
  const shown = filtered(studies, filter.value, w, new Date(minute.value));
  const recipients = api.recipients.value;
  const own = recipients.length > 0 && recipients.every((each) => each.kind === 'patient');
  const title = own ? w.list.titlePatient : w.list.title;
  const expires = api.leaseExpires.value;
  useTitle(title);

  useLayoutEffect(() => {
    window.scrollTo(0, scrolled);
    return () => {
      scrolled = window.scrollY;
    };
  }, []);

  return (
    <div class="page">
      <header class="page-top">
        <div class="top-title">
          <h1>{title}</h1>
          <ConnectionMark />
        </div>
        {api.pin.value.set && <IconButton icon="lock" label={w.pin.lockNow} onClick={() => void api.lock()} />}
        <IconButton icon="settings" label={w.settings} onClick={() => go({ page: 'settings' })} />
      </header>
      <main id="content" tabIndex={-1}>
        <UpdateNotice />
        <Banners />
        <Suggestions />
        {studies.length > 0 && <Filters filter={filter} kinds={modalitiesOf(studies)} />}
        {studies.length === 0 && <Empty />}
        {studies.length > 0 && shown.length === 0 && <NothingFound />}
        {isFiltered(filter.value) && shown.length > 0 && (
          <p class="found" role="status">
            {w.list.found(shown.length)}
          </p>
        )}
        {byPatient(shown).map(({ key, studies: group }, at) => {
          const [first] = group;
          return (
            first && (
              <section key={key} class="patient-group" aria-labelledby={`patient-${at}`}>
                <PatientHeading study={first} id={`patient-${at}`} />
                <ul class="rows">
                  {group.map((study) => (
                    <Row key={study.ref} study={study} />
                  ))}
                </ul>
              </section>
            )
          );
        })}
        {studies.length > 0 && expires !== null && <p class="until">{w.list.until(moment(expires, w))}</p>}
      </main>
    </div>
  );
}
