"""Encapsulated CDA: headings and narrative, as text and HTML."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from gateway.management import worker_protocol as protocol
from gateway.management.rendering import report
from gateway.management.rendering.limits import RenderLimits
from tests.support import reports

DOCUMENT = """<?xml version="1.0" encoding="{encoding}"?>
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <title>퇴원 요약지</title>
  <effectiveTime value="20261124093000+0900"/>
  <languageCode code="ko-KR"/>
  <recordTarget><patientRole><patient><name><given>Gildong</given></name></patient></patientRole></recordTarget>
  <author><assignedAuthor><assignedPerson><name><family>김</family><given>민수</given></name></assignedPerson>
    <representedOrganization><name>서울병원</name></representedOrganization></assignedAuthor></author>
  <legalAuthenticator><assignedEntity><assignedPerson><name><given>Younghee</given><family>Lee</family></name></assignedPerson></assignedEntity>
  </legalAuthenticator>
  <component><structuredBody>
    <component><section>
      <title>소견</title>
      <text>우상엽에 <content styleCode="Bold">결절</content>이 있음.<br/>다른 폐야는 깨끗함.
        <paragraph>크기 12 mm &lt; 20 mm</paragraph>
        <list><caption>계획</caption><item>CT 추적
          <list><item>3개월</item></list></item><item><content revised="delete">조직 검사</content></item></list>
        <table><thead><tr><th>검사</th><th>값</th></tr></thead>
          <tbody><tr><td>CRP</td><td>0.3 mg/dL</td></tr></tbody></table>
        <renderMultiMedia referencedObject="x"/>
      </text>
      <component><section><title>결론</title><text>양성</text></section></component>
    </section></component>
    <component><section><title>서명</title><text><paragraph>끝<br/></paragraph></text></section></component>
  </structuredBody></component>
</ClinicalDocument>
"""

SHOWN = """퇴원 요약지
===========
Date: 2026-11-24 09:30:00 +0900
Author: 김민수, 서울병원
Signed by: Lee, Younghee

소견
----
우상엽에 결절이 있음.
다른 폐야는 깨끗함.
크기 12 mm < 20 mm
계획
CT 추적
  3개월
(deleted: 조직 검사)
검사 | 값
CRP | 0.3 mg/dL
(a picture, which is not shown here)

결론
~~~~
양성

서명
----
끝
"""


@pytest.mark.parametrize("encoding", ["UTF-8", "EUC-KR", "UTF-16"])
def test_headings_and_narrative(tmp_path: Path, encoding: str) -> None:
    xml = DOCUMENT.format(encoding=encoding).encode(encoding)
    if encoding == "UTF-16":
        xml = DOCUMENT.format(encoding="UTF-8").encode("utf-8-sig")  # a byte order mark is no part of it
    data = reports.document(xml, reports.CDA, "text/XML")
    del data.DocumentTitle
    job = protocol.Job(str(reports.save(data, tmp_path / "cda.dcm")), 0, None, 1600, 90, 0, layer="report")
    (text, plain), (html, markup) = report.parts(job, RenderLimits(), lambda: None)
    assert (text.media, html.media) == ("text/plain", "text/html")
    assert plain.decode() == SHOWN
    root = ET.fromstring(markup.decode().partition("\n")[2])
    assert root.attrib == {"lang": "ko-KR"}
    assert [one.text for one in root.iter("h2")] == ["소견", "서명"]
    assert text.attributes["00420010"].Value == ["퇴원 요약지"]
    assert "Gildong" not in plain.decode(), "the header's patient stands in announcements alone"
