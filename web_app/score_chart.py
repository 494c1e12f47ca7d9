"""The scores of a video over time as a chart, and the ways from a time in it to that moment of the video."""

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from web_app.uploads import Result

HEIGHT = 260  # pixels
MOMENTS = 3  # buttons for single faces
APART = 1.0  # seconds between two such moments
COLORS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"]  # Okabe & Ito 2008


def jump_time(result: Result) -> tuple[float, int]:
    """Where the video of a result starts, in seconds, and how often its visitor has jumped."""
    return st.session_state.get(f"jump-{result.folder.name}", (0.0, 0))


def jump(result: Result, time: float) -> None:
    st.session_state[f"jump-{result.folder.name}"] = time, jump_time(result)[1] + 1


def show_scores(result: Result, record: dict[str, Any]) -> None:
    """The chart, which takes clicks, and a button for each of the most suspicious moments."""
    key = f"chart-{result.folder.name}"

    def jump_to_click() -> None:
        points = st.session_state[key].selection.get("moment", [])
        if points:
            jump(result, float(points[0]["time"]))

    st.altair_chart(
        score_chart(record), on_select=jump_to_click, key=key, alt=f"Scores of {result.name} over time, as a chart"
    )
    st.caption("Jump to a moment: click on a point, or choose one of the most suspicious.")
    with st.container(horizontal=True):
        if record["suspicious_from"] is not None:
            label = f"▶ {clock(record['suspicious_from'])} to {clock(record['suspicious_to'])}, the suspicious stretch"
            st.button(label, on_click=jump, args=[result, record["suspicious_from"]])
        for time, probability in suspicious_moments(record):
            st.button(
                f"▶ {clock(time)}, score {probability:.2f}",
                key=f"jump-{time}-{result.folder.name}",
                on_click=jump,
                args=[result, time],
            )


def suspicious_moments(record: dict[str, Any]) -> list[tuple[float, float]]:
    """Times and scores of the most suspicious faces of all people, not close together, in order of time."""
    faces = [(face["probability"], face["time"]) for person in record["people"] for face in person["faces"]]
    chosen: list[tuple[float, float]] = []
    for probability, time in sorted(faces, reverse=True):
        if len(chosen) < MOMENTS and all(abs(time - other) >= APART for other, _ in chosen):
            chosen.append((time, probability))
    return sorted(chosen)


def score_chart(record: dict[str, Any]) -> alt.LayerChart | alt.FacetChart:
    """Score of each person over time; the threshold, the uncertain band, and the most suspicious stretch."""
    rows = pd.DataFrame(
        [
            {"time": face["time"], "score": face["probability"], "person": f"person {person['person']}"}
            for person in record["people"]
            for face in person["faces"]
        ]
    )
    limits = pd.DataFrame([record["threshold"]])
    x = alt.X("time:Q", title="time (s)", scale=alt.Scale(nice=False))
    y = alt.Y("score:Q", title="score (fake probability)", scale=alt.Scale(domain=[0, 1]))
    people = sorted(rows["person"].unique(), key=lambda name: int(name.split()[1]))
    legend = alt.Legend(orient="top", title=None) if len(people) > 1 else None
    colors = [COLORS[i % len(COLORS)] for i in range(len(people))]
    color = alt.Color("person:N", scale=alt.Scale(domain=people, range=colors), legend=legend)
    moment = alt.selection_point(name="moment", fields=["time"], on="click", nearest=True, empty=False)
    line = alt.Chart(rows).mark_line().encode(x=x, y=y, color=color)
    points = (
        alt.Chart(rows)
        .mark_circle(size=70, opacity=1)
        .encode(x=x, y=y, color=color, tooltip=["time", "score", "person"])
        .add_params(moment)
    )
    layers = [
        alt.Chart(limits).mark_rect(color="gray", opacity=0.2).encode(y="low:Q", y2="high:Q"),
        alt.Chart(limits).mark_rule(color="gray", strokeDash=[6, 4]).encode(y="threshold:Q"),
    ]
    if record["suspicious_from"] is not None:
        stretch = pd.DataFrame([{"from": record["suspicious_from"], "to": record["suspicious_to"]}])
        layers.append(alt.Chart(stretch).mark_rect(color="#D55E00", opacity=0.2).encode(x="from:Q", x2="to:Q"))
    return alt.layer(*layers, line, points).properties(height=HEIGHT)


def clock(seconds: float) -> str:
    """Minutes and seconds, such as 1:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
