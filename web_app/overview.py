"""All results of a visitor at a glance, the details of one of them, and all of them to take away."""

import datetime

import streamlit as st

from web_app.export import results_csv, results_report
from web_app.results import VERDICTS, escape_markdown, percentage, show_result
from web_app.service import Service
from web_app.uploads import Result
from web_app.visitors import Visitor

NEWEST, MOST_SUSPICIOUS = "Newest first", "Most suspicious first"
# The number of the click makes it run again.
SCROLL = "<script>document.querySelector('.st-key-details').scrollIntoView({behavior: 'smooth'}) // %d\n</script>"


def show_overview(service: Service) -> None:
    results = list(service.visitor().results)
    if not results:
        return
    st.subheader("1 result" if len(results) == 1 else f"{len(results)} results", anchor=False)
    with st.container(key="overview"):  # its own place, so that a further row does not start the player anew
        if len(results) > 1:
            order = st.segmented_control(
                "Order", [NEWEST, MOST_SUSPICIOUS], default=NEWEST, label_visibility="collapsed", required=True
            )
            for result in in_order(results, str(order)):
                show_row(result)
    show_result(selected_result(results))
    if st.session_state.pop("scroll", False):
        st.html(SCROLL % st.session_state.clicks, unsafe_allow_javascript=True)
    show_exports(service, results)


def in_order(results: list[Result], order: str) -> list[Result]:
    newest = results[::-1]
    if order == MOST_SUSPICIOUS:
        newest.sort(key=lambda result: -(result.overview["probability"] or 0))
    return newest


def selected_result(results: list[Result]) -> Result:
    """The first result since the last upload, or what was chosen since, or else the newest. It stays the same then."""
    before, chosen = st.session_state.get("before"), st.session_state.get("selected")
    if before is not None:
        chosen = next((key for key in map(row_key, results) if key not in before), chosen)
    result = next((result for result in results if row_key(result) == chosen), results[-1])
    st.session_state.selected = row_key(result)
    return result


def await_result(visitor: Visitor) -> None:
    """Let the details be those of the next result."""
    st.session_state.before = {row_key(result) for result in visitor.results}


def choose_result(key: str) -> None:
    """Show the details of a result, and bring them into sight: many rows may be above them."""
    clicks = st.session_state.get("clicks", 0) + 1
    st.session_state.update(before=None, selected=key, scroll=True, clicks=clicks)


def row_key(result: Result) -> str:
    return f"result-{result.folder.name}"


def show_row(result: Result) -> None:
    """Picture, name and findings of a result. The name is a button that shows the details."""
    key = row_key(result)
    with st.container(horizontal=True, vertical_alignment="center", key=f"row-{key}", wrap=False):
        with st.container(width=96):
            if thumbnail := result.thumbnail():
                st.image(thumbnail, alt=f"A frame of {result.name}", width=96)
            else:
                st.markdown(VERDICTS[result.overview["verdict"]].icon, text_alignment="center")
        with st.container(gap=None):
            st.button(
                escape_markdown(result.name),
                key=key,
                type="tertiary",
                help="Show the details",
                on_click=choose_result,
                args=[key],
            )
            st.markdown(findings(result))


def findings(result: Result) -> str:
    """The verdict as a badge, the probability and the most suspicious stretch, as Markdown."""
    overview = result.overview
    verdict = VERDICTS[overview["verdict"]]
    parts = [f":{verdict.color}-badge[{verdict.word}]"]
    if overview["probability"] is not None:
        parts.append(f"fake probability {percentage(overview['probability'])}")
    if overview["suspicious_from"] is not None:
        parts.append(f"suspicious from {overview['suspicious_from']:.1f} to {overview['suspicious_to']:.1f} s")
    if overview["verdict"] == "error":
        parts.append(escape_markdown(overview["message"]))
    return " · ".join(parts)


def show_exports(service: Service, results: list[Result]) -> None:
    with st.container(border=True):
        st.markdown("#### Take all results with you")
        st.caption("The report is one page with all pictures in it. To get a PDF, open it and print it.")
        with_date = st.checkbox("Put today's date on the report")
        date = datetime.date.today() if with_date else None
        with st.container(horizontal=True):
            st.download_button(
                "Report (HTML)",
                lambda: results_report(results, date),
                "deepfake_report.html",
                "text/html",
                on_click="ignore",
            )
            st.download_button(
                "Table (CSV)", lambda: results_csv(results), "deepfake_results.csv", "text/csv", on_click="ignore"
            )
            st.button("Delete all my results", on_click=lambda: service.visitors.delete_all(service.visitor()))
